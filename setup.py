"""List the packages with all their sub-packages: one forgotten would be absent from the wheel."""

from setuptools import find_packages, setup

TOP = ("catalogs", "models", "pipeline")

setup(
    packages=[
        "terralatent",
        *(
            package
            for top in TOP
            for package in (
                f"terralatent.{top}",
                *(f"terralatent.{top}.{name}" for name in find_packages(top)),
            )
        ),
    ]
)
