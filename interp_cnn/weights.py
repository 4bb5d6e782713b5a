"""The former name of `interp_cnn.models.pretrained`, as a command: kept for one release."""

from interp_cnn.models.pretrained.__main__ import main

if __name__ == "__main__":
    main(prog="python -m interp_cnn.weights")
