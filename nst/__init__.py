"""The helpers of the lesson, a room for each purpose. What the notebook uses of them is named in nst_utils.py."""
