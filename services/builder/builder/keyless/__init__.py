"""Sign with certificates of Fulcio, in a process of its own.

- `notary`: starts the process, and stores its bundles. - `process`: what runs there. - `messages`: what they exchange.
"""
