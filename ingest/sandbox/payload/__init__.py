"""Records of the shop as KeyCRM's JSON objects.

Keys, types and oddities are those of live responses: whole amounts without a fraction, some
amounts as strings, ``[]`` for an empty object, two formats of a time. A relation is present
only if the request includes it.
"""
