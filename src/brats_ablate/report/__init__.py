"""The HTML report and the images of cases."""
