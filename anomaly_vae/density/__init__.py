"""log p(x) of rows by importance sampling. A row passes the modules in this order.

1. ``estimator`` cuts the rows into blocks and gives each block to the ``engine`` of every ``member``.
2. ``engine`` draws pilot samples from the encoder's q(z|x). A row with even weights keeps this proposal.
3. ``fitting`` fits a proposal to every other row: ``starts`` chooses starting points, ``modes`` climbs from them to
   modes of p(z|x), ``proposals`` builds a mixture of Gaussians around the modes.
4. ``rounds`` spends the rest of the budget. ``sampler`` turns the points of ``noise`` into samples and log-weights;
   ``tiles`` calls a ``network``, which ``runtime`` implements with onnxruntime.
5. ``importance`` reduces the log-weights to log p(x), ELBO and standard error, ``diagnostics`` adds Pareto k, and
   ``estimates`` holds the result.
6. ``ensemble`` combines the members' estimates.

Where only flags are wanted, ``cascade`` ends step 2 early for rows that are clearly normal. ``synthesis`` draws
synthetic rows.
"""
