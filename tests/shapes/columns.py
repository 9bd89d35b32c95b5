"""A column of every type of PostgreSQL, on both sides, and the types that a database makes for itself."""

# Column → type on the monolith's side, type on the service's. Their fields' classes do not matter: only names are used.
TYPES = {
    "small": ("smallint", "integer"),
    "num": ("numeric", "numeric"),
    "num2": ("numeric(12,2)", "numeric(14,4)"),
    "dbl": ("double precision", "double precision"),
    "flt": ("real", "real"),
    "cash": ("money", "money"),
    "txt": ("text", "text"),
    "vc": ("varchar(20)", "text"),
    "ch": ("char(6)", "char(6)"),
    "chv": ("char(6)", "varchar(6)"),
    "raw": ("bytea", "bytea"),
    "ts": ("timestamp", "timestamp"),
    "tz": ("timestamptz", "timestamptz"),
    "tz3": ("timestamptz(3)", "timestamptz(3)"),
    "day": ("date", "date"),
    "tm": ("time", "time"),
    "tmz": ("timetz", "timetz"),
    "iv": ("interval", "interval"),
    "flag": ("boolean", "boolean"),
    "uid": ("uuid", "uuid"),
    "jb": ("jsonb", "jsonb"),
    "js": ("json", "json"),
    "ip": ("inet", "inet"),
    "net": ("cidr", "cidr"),
    "mac": ("macaddr", "macaddr"),
    "mac8": ("macaddr8", "macaddr8"),
    "bits": ("bit(5)", "bit(5)"),
    "vbits": ("bit varying", "bit varying"),
    "ints": ("integer[]", "bigint[]"),
    "texts": ("text[]", "text[]"),
    "grid": ("numeric[]", "numeric[]"),
    "rng": ("int4range", "int4range"),
    "trng": ("tstzrange", "tstzrange"),
    "mrng": ("nummultirange", "nummultirange"),
    "search": ("tsvector", "tsvector"),
    "pt": ("point", "point"),
    "mood": ("mood", "feeling"),
    "moods": ("mood[]", "feeling[]"),
    "mail": ("email", "address"),
    "pos": ("positive", "natural_number"),
    "pair_": ("couple", "couple"),
    "span": ("moodrange", "text"),
}
OWN_TYPES = (
    """CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy day'); CREATE TYPE moodrange AS RANGE (subtype = mood);
    CREATE DOMAIN email AS varchar(80) CHECK (VALUE LIKE '%@%'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
    CREATE TYPE couple AS (a integer, b text)""",
    """CREATE TYPE feeling AS ENUM ('happy day', 'bored', 'ok', 'sad'); CREATE DOMAIN address AS text NOT NULL;
    CREATE DOMAIN whole AS bigint; CREATE DOMAIN natural_number AS whole CHECK (VALUE >= 0);
    CREATE TYPE couple AS (a integer, b text)""",
)
