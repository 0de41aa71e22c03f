//! S3-FIFO: the order in which memory is given up.
