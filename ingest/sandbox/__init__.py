"""A living KeyCRM shop to develop, demonstrate and test against.

``world`` lives the shop's life, ``payload`` speaks it as KeyCRM would, ``server`` answers HTTP.
"""
