"""What RIS gives, recorded from outside: command lines in, files and JSON out.

`record` does a small workload and writes what came of it, `compare` says where two recordings
differ. The recording in this folder is what `tests/test_golden.py` holds the program against.
"""
