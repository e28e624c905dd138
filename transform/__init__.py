"""Transform: bronze becomes silver and gold, is checked, and is published as one release."""

import lake as lake  # before Arrow: it sets how memory is returned to the system
