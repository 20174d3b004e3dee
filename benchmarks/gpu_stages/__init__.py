"""The stages of `gpu.py`: a module has `measure(options, words)`, which returns plain data; `ok` false if it is wrong."""
