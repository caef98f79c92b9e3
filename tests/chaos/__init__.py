"""The deployed service on the local AWS, with everything that can go wrong going wrong.

`make crash-test` and `make soak`; `make test` only tests the tools.
"""
