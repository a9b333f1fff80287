"""Where inference pays: six worlds of other libraries, and what each way of estimating their state comes to."""
