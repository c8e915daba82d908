"""``terralatent VERB``: one function for each verb, which reads its options and makes one call.

What a verb needs is imported inside it, so that ``--help`` answers at once.
"""
