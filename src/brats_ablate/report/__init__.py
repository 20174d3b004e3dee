"""The HTML report and the pictures of cases."""
