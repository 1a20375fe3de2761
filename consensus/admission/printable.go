package admission

// unprintable are the code points that no name may have that people read in
// terminals, lists and directories: controls, what formats text or turns its
// direction, white space but the plain space, surrogates, what is private or no
// character. It is a list of this protocol, and no table of a version of Unicode:
// what nodes and verifiers take for a name must not hang on what they were built
// with (protocol, section 2).
var unprintable = [...][2]rune{
	{0x0000, 0x001f}, {0x007f, 0x00a0}, {0x00ad, 0x00ad}, {0x0600, 0x0605}, {0x061c, 0x061c}, {0x06dd, 0x06dd},
	{0x070f, 0x070f}, {0x0890, 0x0891}, {0x08e2, 0x08e2}, {0x1680, 0x1680}, {0x180e, 0x180e}, {0x2000, 0x200f},
	{0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000}, {0xd800, 0xf8ff}, {0xfeff, 0xfeff}, {0xfff0, 0xfffb},
	{0xfffe, 0xffff}, {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3},
	{0x1d173, 0x1d17a}, {0xe0000, 0xe00ff}, {0xe01f0, 0x10ffff},
}

// Printable reports whether a name that people read may have r. A code point that
// no version of Unicode has given a meaning yet may be in one.
func Printable(r rune) bool {
	for _, refused := range unprintable {
		if refused[0] <= r && r <= refused[1] {
			return false
		}
	}
	return true
}
