package sim

// A liar with a false result follows the protocol with it: it binds itself, shows
// its report, holds the blocks, and votes for what it believes to be valid. See
// liar.runs.
