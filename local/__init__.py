"""The whole service on one machine: ``make run``. Nothing of it ships."""
