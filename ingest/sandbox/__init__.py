"""A simulated KeyCRM shop for development, demonstrations and tests.

``world`` simulates the shop, ``payload`` writes its records as KeyCRM's JSON, ``server`` answers HTTP.
"""
