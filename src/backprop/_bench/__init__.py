"""``backprop bench``: what kernels, training steps and predictions cost here, and how many times as long others take for them.

`command` is the way in. `kernel_cases` and `network_cases` say what is measured, `peers` and the modules beside it how other
libraries do it, `timing` how time is taken, `machine` what the processor can do at best, `table` how it all is shown.
"""
