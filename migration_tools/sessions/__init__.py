"""Live sessions on their way from the database's table to Redis: one session engine that finds them in both, a move.

Note [where a session is]. Sessions change their place by a move alone, and one move runs at a time. Whoever saves a
session changes it where it is; where new ones are made says SESSIONS. So processes with different values of SESSIONS
agree, and these hold whatever dies when:

1. A session is in the table, in Redis, or in both; if in both, Redis has what is as new or newer. To Redis, a move
   locks the row, adds the key if it is absent, and deletes the row with its commit. To the table, it commits the row
   first, and then takes the key away only if it still holds those bytes; if not, it begins anew.
2. So Redis is read first, then the table, then Redis again: what left the table in between is there.
3. A save writes the key only if it is there, else the row only if it is there, else the key again. If nothing is there
   somebody has logged out, and the save fails as Django's own does; it makes nothing anew.
4. Who logs out holds the session's lock (an advisory one, for its transaction), deletes the row, waiting for whoever
   holds that, and then the key. A move to the table reads the key under the same lock. So nobody writes a row from a
   key that a logout has taken or is about to take.
5. A move whose database session has died while it was stopped holds no rows, and goes on. So whoever changes or
   deletes a row raises the session's mark in Redis afterwards, and looks for the key again; a move adds a key only
   while the mark is as it was before the row was read.
"""
