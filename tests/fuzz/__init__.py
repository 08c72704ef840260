"""Broken, cut off and hostile files for every reader of xfer.

    python tests/fuzz --inputs 10000 --seconds 60              every target
    python tests/fuzz --target recipe --inputs 500             one of them (may be repeated)
    python tests/fuzz --target recipe --replay FOLDER          one saved input again, with traceback

A target is a reader with miniatures of what it reads. A reader must end in data or in an XferError,
within 5 seconds of CPU and 1.5 GB; anything else is a fault: another exception, a crash of the
process, a hang. What it gives must be *used* as well (samples decoded, tensors read, a split
given to a probe), because faults hide behind lazy reading.

## How a target is added

A function in a file of `targets/`, which are all imported:

    @target("recipe", recipes)
    def use(path: Path) -> None:
        load_recipe(str(path))

`recipes` is called with an empty folder and returns miniatures as a list of `Case`: a dict of
file name -> bytes, with "/" for folders; `case.of_folder` and `case.of_file` read them from disk.
All seeds must be read without an error. `use` gets a path: of the file if a case has one, else of
the folder that holds its files. It lets every exception out, and writes nothing.

    target(name, seeds,
           keep=("*.jpg",),          # files that are left as they are (patterns; the rest mutates)
           mend=function,            # case -> case with the checksums of its files, made right in
                                     # most inputs: what lies behind them is tried too
           warm=function,            # called once before the time is measured: imports, nets
           memory=1.5)               # GB that one input may take

How files are mutated is decided by their endings in `mutate/__init__.py` (`MUTATORS`): all of them
by bytes, JSON also as values, .npz also as a zip of arrays, and so on. A new format is a function
`(bytes, Rng) -> bytes`, or one that raises `mutate.Unfit` if the bytes are not of that form.

Miniatures are made in code, quickly and always alike (a seed gives the same inputs again). Times:
cheap readers manage 500 inputs per second, the slowest must manage 20. `tests/test_fuzz.py` runs
some inputs of each target with the other tests.
"""
