"""Garbage collection: remove what no record refers to any more. `python -m swell.garbage`.

Objects are removed when they are older than an age, by the clock of the object store. Images and records have no such
time: the first run marks them, and a later run removes them if they were unused all the time in between.
"""
