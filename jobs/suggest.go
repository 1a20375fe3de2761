package jobs

// nearest returns the word that name was probably meant to be, "" for none:
// at most a third of the letters differ.
func nearest(name string, words []string) string {
	if len(name) > 64 {
		return ""
	}
	best, near := max(len(name), 3)/3+1, ""
	for _, word := range words {
		if d := distance(name, word); d < best {
			best, near = d, word
		}
	}
	return near
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour (optimal string alignment).
func distance(a, b string) int {
	before, last := []int{}, make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
