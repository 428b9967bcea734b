"""The names that name files of a results folder. Text from a file becomes a path only if it is one of these."""

import re

RUN_ID = r"^[0-9A-Za-z_-]{1,64}$"
MATRIX_NAME = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,79}$"

is_run_id = re.compile(RUN_ID).fullmatch
is_architecture = is_run_id
is_matrix_name = re.compile(MATRIX_NAME).fullmatch
