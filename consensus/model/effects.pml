/*
 * Runs that act on the world, under `once` (docs/protocol.md, section 8;
 * docs/decisions/017-outside-effects.md): n = 4, f = 1, and height 0 may decide
 * that a member's place is taken at height 1.
 *
 * Members 0, 1, 2 are correct, and the fourth lies: it has granted every run and
 * prepared every handover from the beginning. 0 and 1 execute, too, 0 the runs
 * 1, 3, and 1 the runs 2, 4. What the liar executes needs nobody's grant, so
 * nothing is claimed of it; what is granted to it only makes members wait.
 * Who leaves is the liar, and its successor lies, too; or, with CORRECT_LEAVES,
 * executor 1, whose successor 3 is correct, and has the same numbers.
 *
 * What was said stands, as in voting.pml: a member acts whenever some part of it
 * would let it, or never. Handovers are decided more easily than in the
 * code: there is one, a member prepares it in either of two rounds, on its own
 * account or on a certificate of the round before, and one certificate is enough.
 */
#ifndef RUNS
#define RUNS 3
#endif
#ifdef QUORUM_LESS_ONE
#define QUORUM 2
#else
#define QUORUM 3
#endif

#ifdef CORRECT_LEAVES
#define SEATS 4
#define third(h) ((h) == 0 -> 1 : 3)    /* beside 0 and 2 */
#else
#define SEATS 3
#define third(h) 1
#endif

/* A run in a set of runs: those of a successor stand above the others. */
#define bit(e, r) (1 << ((r) - 1 + ((e) == 3 -> RUNS : 0)))

typedef Member {
	byte height;
	bool away;           /* has no seat, or none yet */
	byte granted;        /* the last run that it granted, 0: none */
	byte to;             /* whose that was */
	bool closed;         /* prepared a handover of this height */
	byte prepared;       /* rounds of height 0 in which it did, a set */
	short old;           /* runs that it granted at height 0, a set */
	short new;           /* the same at height 1 */
	byte begun;          /* as an executor: the last own run that began */
	byte over;           /* no own run up to this goes on, or will begin; it was said */
	bool acting          /* the last run goes on, came to an outcome, or was cut off */
}
Member m[SEATS];

#define grants(i, h, e, r) ((((h) == 0 -> m[i].old : m[i].new) & bit(e, r)) != 0)
#if defined(GRANTS_ADDED)               /* grants of two heights add up */
#define granted(h, e, r) (1 + (grants(0, 0, e, r) || grants(0, 1, e, r)) + (grants(2, 0, e, r) || grants(2, 1, e, r)) + \
	(grants(1, 0, e, r) || grants(third(1), 1, e, r)) >= QUORUM)
#else
#define granted(h, e, r) (1 + grants(0, h, e, r) + grants(2, h, e, r) + grants(third(h), h, e, r) >= QUORUM)
#endif

#define prepares(i, r) ((m[i].prepared >> (r)) & 1)
#define certified(r) (1 + prepares(0, r) + prepares(1, r) + prepares(2, r) >= 3)
#define decided (certified(0) || certified(1))
#define certifiedBefore(r) ((r) == 1 && certified(0))

/* The last run that a member granted is over: its executor said so, or has no
 * seat at the member's height. */
#ifdef CORRECT_LEAVES
#define seated(i, e) (m[i].height == 0 -> (e) != 3 : (e) != 1)
#else
#define seated(i, e) 1
#endif
#ifdef GRANT_WHILE_OPEN
#define isOver(i) 1
#else
#define isOver(i) (m[i].granted == 0 || !seated(i, m[i].to) || m[m[i].to].over >= m[i].granted)
#endif
#if defined(MOVE_WHILE_OPEN)
#define mayMove(i) 1
#else
#define mayMove(i) (m[i].granted == 0 || !seated(i, m[i].to) || m[m[i].to].over >= m[i].granted)
#endif
#ifdef NOT_CLOSED
#define mayGrant(i) 1
#else
#define mayGrant(i) (!m[i].closed)
#endif

inline say(i, e, r) {
	if
	:: m[i].height == 0 -> m[i].old = m[i].old | bit(e, r)
	:: else -> m[i].new = m[i].new | bit(e, r)
	fi
}

#define grant(i, e, r) \
	:: d_step { !m[i].away && mayGrant(i) && seated(i, e) && r > m[i].granted && isOver(i) -> \
		m[i].granted = r; m[i].to = e; say(i, e, r) }

#define prepare(i, r) \
	:: d_step { !m[i].away && m[i].height == 0 && (m[i].prepared >> (r)) == 0 && (mayMove(i) || certifiedBefore(r)) -> \
		m[i].prepared = m[i].prepared | 1 << (r); m[i].closed = 1 }

/* Who is shown the decision goes on at height 1, and says there what it granted
 * last. Who lost its seat may never hear of it, and be as it was. */
inline climb(i) {
	m[i].height = 1; m[i].closed = 0; m[i].away = 0;
	if
	:: m[i].granted -> say(i, m[i].to, m[i].granted)
	:: else
	fi
}
#define follow(i) :: d_step { m[i].height == 0 && decided -> climb(i) }

/* No run begins while another goes on, or has an end that nobody knows. */
#define idle(e) (!m[e].acting)
#ifdef CORRECT_LEAVES
#define others(e) (((e) == 0 || idle(0)) && ((e) == 1 || idle(1)) && ((e) == 3 || idle(3)))
#else
#define others(e) (((e) == 0 || idle(0)) && ((e) == 1 || idle(1)))
#endif

#define begin(e, r) \
	:: d_step { !m[e].away && m[e].begun <= m[e].over && r > m[e].over && granted(m[e].height, e, r) -> \
		assert(idle(e) && others(e)); m[e].begun = r; m[e].acting = 1 }

/* A run came to nothing, and its executor says so; or one gives numbers up that
 * will not begin. A run that came to an outcome is not said to be over. */
#ifdef CUT_IS_OVER                      /* nor is one that was cut off */
#define unknown(e) m[e].acting = m[e].acting
#else
#define unknown(e) m[e].acting = 0
#endif
#define end(e) \
	:: d_step { m[e].begun > m[e].over -> m[e].over = m[e].begun; unknown(e) }
#ifdef GIVEN_UP_BEGINS                  /* a number that was given up begins all the same */
#define giveUp(e, r) \
	:: d_step { m[e].begun <= m[e].over && r > m[e].over && granted(m[e].height, e, r) -> \
		assert(idle(e) && others(e)); m[e].begun = r; m[e].acting = 1; m[e].over = r }
#else
#define giveUp(e, r) \
	:: d_step { m[e].begun <= m[e].over && r > m[e].over -> m[e].over = r }
#endif

/* What a restart must not lose. */
#if defined(GRANT_FORGOTTEN)
#define restart(i) :: d_step { m[i].granted -> m[i].granted = 0; m[i].to = 0 }
#elif defined(CLOSED_FORGOTTEN)
#define restart(i) :: d_step { m[i].closed -> m[i].closed = 0 }
#else
#define restart(i)
#endif

/* Each number is one of one executor's: 2 is a successor's too. */
#if RUNS > 2
#define own0(act) act(0, 1) act(0, 3)
#define grant0(i) grant(i, 0, 1) grant(i, 0, 3)
#else
#define own0(act) act(0, 1)
#define grant0(i) grant(i, 0, 1)
#endif
#if RUNS > 3
#define own1(act, e) act(e, 2) act(e, 4)
#define grant1(i, e) grant(i, e, 2) grant(i, e, 4)
#else
#define own1(act, e) act(e, 2)
#define grant1(i, e) grant(i, e, 2)
#endif

#ifdef CORRECT_LEAVES
#define member(i) grant0(i) grant1(i, 1) grant1(i, 3) prepare(i, 0) prepare(i, 1) restart(i)
#else
#define member(i) grant0(i) grant1(i, 1) prepare(i, 0) prepare(i, 1) restart(i) follow(i)
#endif

init {
#ifdef CORRECT_LEAVES
	m[3].away = 1;
#endif
	do
	member(0) own0(begin) end(0) own0(giveUp)
	member(1) own1(begin, 1) end(1) own1(giveUp, 1)
	member(2)
#ifdef CORRECT_LEAVES
	follow(0) follow(2)
	member(3) follow(3) own1(begin, 3) end(3) own1(giveUp, 3)
#endif
	od
}
