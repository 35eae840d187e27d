-- What was handled, what happened, and who is told.

-- What became of each message, and the messages it caused: the unacked input is the outbox, and
-- this row is what a redelivered input hands out again.
CREATE TABLE inbox (
    worker   text NOT NULL,
    message  uuid NOT NULL,
    digest   bytea,
    label    text NOT NULL,
    caused   text,
    reply    text,
    at       timestamptz NOT NULL,
    PRIMARY KEY (message, worker)
);
CREATE INDEX inbox_at ON inbox (at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- Every event, once: the key is the event's id.
CREATE TABLE trail (
    event      uuid PRIMARY KEY,
    kind       text NOT NULL,
    account    text,
    member     text,
    challenge  uuid,
    at         timestamptz NOT NULL,
    body       jsonb NOT NULL
);
CREATE INDEX trail_challenge ON trail (challenge) WHERE challenge IS NOT NULL;
CREATE INDEX trail_account ON trail (account, at);
CREATE TRIGGER trail_append_only BEFORE UPDATE OR DELETE ON trail
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The Activity report: written in the transaction that changes the setting.
CREATE TABLE activity (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account     text NOT NULL,
    member      text NOT NULL,
    actor       text NOT NULL,
    action      text NOT NULL,
    origin      text NOT NULL CHECK (origin IN ('self', 'admin', 'mandate', 'support')),
    old_number  text,
    new_number  text,
    at          timestamptz NOT NULL
);
CREATE INDEX activity_account ON activity (account, seq);
CREATE TRIGGER activity_append_only BEFORE UPDATE OR DELETE ON activity
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- One mail per change and admin.
CREATE TABLE notice (
    id           uuid PRIMARY KEY,
    account      text NOT NULL,
    admin        text NOT NULL,
    member       text NOT NULL,
    actor        text NOT NULL,
    happened_at  timestamptz NOT NULL,
    old_number   text,
    new_number   text,
    state        text NOT NULL CHECK (state IN ('queued', 'calling', 'accepted', 'failed',
                                                'unknown', 'skipped')),
    tries        smallint NOT NULL DEFAULT 0,
    lease_until  timestamptz,
    settled_at   timestamptz,
    answer       text,
    created_at   timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX notice_created_at ON notice (created_at);

ALTER TABLE inbox SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000,
                       autovacuum_vacuum_insert_threshold = 10000);
ALTER TABLE trail SET (autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000,
                       autovacuum_vacuum_insert_threshold = 10000);
