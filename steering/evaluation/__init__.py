"""Numbers where the paper shows pictures: prompts, steering, detection and editability of an embedded model.

The judge (judge.py) reads the pictures; memorised ones are compared with the pictures they were trained on.
"""

from .detection import detection
from .editability import editability
from .groups import groups
from .prompts import prompts
from .steering import steering
from .words import words

__all__ = ["detection", "editability", "groups", "prompts", "steering", "words"]
