# layers.awk - joins two tables of senetd bench --layers on by operation: the first file's times stand
# beside the second's lines.
#
#     awk -f layers.awk blas.txt own.txt

# The table begins after its heading; what stands before it is only shown of the second file.
$1 == "operation" {
    table[FILENAME] = 1
    if (FILENAME != ARGV[1])
        printf "%-22s %10s %10s %8s %10s %12s %9s\n", "operation", "ms/image", "GFLOP/s", "GB/s",
               "% of roof", "OpenBLAS, ms", "faster by"
    next
}
FILENAME == ARGV[1] {
    if (table[FILENAME]) {
        theirs[$1] = $2
        sum += $2
    }
    next
}
!table[FILENAME] { print; next }
{
    printf "%-22s %10.3f %10.0f %8.1f %10.0f %12.3f %8.2fx\n", $1, $2, $3, $4, $5, theirs[$1],
           ($2 > 0 ? theirs[$1] / $2 : 0)
    own += $2
}
END { printf "%-22s %10.3f %41.3f %8.2fx\n", "all", own, sum, sum / own }
