"""The contracts of methods, encoders and data sets, as checks that run in seconds on a CPU.

A check is a function that raises `FssegError` with the part of the contract that does not hold. `fsseg check` runs the
checks on a user's own class, and the contract tests run them on every class of the package.
"""
