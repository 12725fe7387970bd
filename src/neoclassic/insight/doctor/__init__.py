"""The doctor: what is wrong with a run, why, and what to do.

`case` gathers what is known of a run, `look` passes a few batches through its network, `trial` trains it for a few
steps at other learning rates. The findings are in `stuck` (training does not learn), `course` (how the curves went),
`answers` (what the model says of the test images) and `setting` (data and recipe). `diagnosis` puts them in order.
"""
