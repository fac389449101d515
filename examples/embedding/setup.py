"""A project of its own that calls vsw's switch from Cython: `python setup.py build_ext --inplace`, with vsw installed."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import vsw

setup(
    name="embedding",
    ext_modules=cythonize(
        [Extension("embedding", ["embedding.pyx"], include_dirs=[vsw.get_include()])],
        include_path=[vsw.get_include()],
        compiler_directives={"language_level": 3},
    ),
)
