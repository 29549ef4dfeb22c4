"""What newer Bazels load from rules_python, taken from the rules that are built into this one."""

py_binary = native.py_binary
py_library = native.py_library
py_runtime = native.py_runtime
py_test = native.py_test
