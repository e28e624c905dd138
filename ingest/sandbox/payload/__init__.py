"""Records of the shop as the JSON objects KeyCRM would send for them.

Keys, types and oddities are those of live responses: whole amounts without a fraction,
some amounts as strings, ``[]`` where an object is empty, two spellings of an instant.
A relation is there only if it was asked for.
"""
