"""All cases, in the order of the specification."""

from . import lifecycle

CASES = [*lifecycle.CASES]
