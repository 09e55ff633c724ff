"""A conversation in a terminal: what is typed, what is shown, and the commands that begin with a slash.

Imported by `localmix chat`, and only where stdin is a terminal: prompt_toolkit and rich take 0.2 s. What signals do
(`modes`), which needs neither, also counts for a file of prompts.
"""
