"""Lists of prompts and pictures: read, scored with a verdict each, and told as a report or a table."""
