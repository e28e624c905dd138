"""Transform: bronze into silver and gold, checked, published as one release."""

import lake as lake  # before Arrow: it says how memory is given back
