-- The directory: what upstream apps tell us of accounts and members.
-- Forward only: expand first, contract in a later release.

-- The one clock of all decisions. Tests replace it in their template database, nobody else does.
CREATE FUNCTION stepup_now() RETURNS timestamptz
    LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

CREATE TABLE account (
    account         text PRIMARY KEY,
    app             text NOT NULL,
    version         bigint NOT NULL,
    name            text NOT NULL,
    origin          text,
    country         text NOT NULL,
    countries       text[] NOT NULL,
    email_fallback  text NOT NULL CHECK (email_fallback IN ('automatic', 'on_request', 'forbidden')),
    changed_at      timestamptz NOT NULL
);

-- Contacts are sealed (AEAD, bound to account, member and field); equality goes by keyed blind
-- indexes. Only the country is in clear.
CREATE TABLE member (
    account                text NOT NULL REFERENCES account,
    member                 text NOT NULL,
    version                bigint NOT NULL,
    active                 boolean NOT NULL,
    role                   text NOT NULL CHECK (role IN ('primary_admin', 'admin', 'member')),
    locale                 text NOT NULL,
    phone                  bytea,
    phone_index            bytea,
    phone_prefix_index     bytea,
    phone_country          text,
    phone_textable         boolean NOT NULL,
    phone_verified_at      timestamptz,
    email                  bytea,
    email_index            bytea,
    email_verified         boolean NOT NULL,
    two_factor             boolean NOT NULL,
    email_backup           boolean NOT NULL,
    notify_number_changes  boolean NOT NULL,
    wrong_in_a_row         integer NOT NULL DEFAULT 0,
    guess_after            timestamptz,
    suspended_at           timestamptz,
    changed_at             timestamptz NOT NULL,
    PRIMARY KEY (account, member),
    CHECK ((phone IS NULL) = (phone_index IS NULL)),
    CHECK ((email IS NULL) = (email_index IS NULL))
) WITH (fillfactor = 70);

-- Who hears of changed numbers is looked up by account; few rows, so a partial index stays small.
CREATE INDEX member_subscribed ON member (account) WHERE notify_number_changes;
