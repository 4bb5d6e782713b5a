"""The paper's tables: the same as `interp-cnn reproduce`; --help says how."""

from interp_cnn.cli.reproduce import main

if __name__ == "__main__":
    main()
