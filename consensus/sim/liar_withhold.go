package sim

// A liar that withholds its result follows the protocol to the letter, claims to
// hold the blocks by its report and its prepare, and hands them to nobody: see
// liar.serves. Members that need them must find another who holds them.
