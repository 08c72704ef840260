"""What a notebook shows: one display of a training, and objects that show themselves."""

from xfer.notebook.kernel import expect_no_widgets

expect_no_widgets()
