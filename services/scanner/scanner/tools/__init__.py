"""Programs that list the packages of an image and match them with a vulnerability database.

Every tool passes the tests in `tests/integration/scanner/contract.py`.
"""
