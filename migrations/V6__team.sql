-- Teams and support: reviews of contacts, mandates, resets of a factor.

-- Until when a mandate that is on is not enforced.
ALTER TABLE account ADD COLUMN grace_until timestamptz;

-- Whether 2FA was turned on by the mandate, and so goes with it; until when it is not enforced for
-- this member; when the number last changed or support reset the factor, which holds sensitive
-- settings for a while; when support reset it, until the member has enrolled again; when the address
-- was proved in order to enrol; the address before the present one, sealed, and since when.
ALTER TABLE member
    ADD COLUMN factor_by_mandate boolean NOT NULL DEFAULT false,
    ADD COLUMN grace_until timestamptz,
    ADD COLUMN factor_changed_at timestamptz,
    ADD COLUMN reset_at timestamptz,
    ADD COLUMN email_proved_at timestamptz,
    ADD COLUMN email_before bytea,
    ADD COLUMN email_changed_at timestamptz,
    ADD CONSTRAINT member_mandate_check CHECK (two_factor OR NOT factor_by_mandate);

ALTER TABLE challenge
    DROP CONSTRAINT challenge_purpose_check,
    ADD CONSTRAINT challenge_purpose_check CHECK (purpose IN ('login', 'enrolment',
        'number_change_current', 'number_change_new', 'disable', 'setting', 'team'));

-- A look at the contacts of all members, made in batches: `batch` counts them, and `reached` is the
-- last member that was looked at.
CREATE TABLE review (
    id          uuid PRIMARY KEY,
    account     text NOT NULL REFERENCES account,
    actor       text NOT NULL,
    batch       integer NOT NULL DEFAULT 0,
    reached     text NOT NULL DEFAULT '',
    checked     bigint NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    done_at     timestamptz
);
CREATE INDEX review_expires_at ON review (expires_at);

-- What was found of each active member; `contacts` is a digest of all that the verdict rests on, so
-- that a review which no longer holds can be told.
CREATE TABLE review_member (
    review    uuid NOT NULL REFERENCES review ON DELETE CASCADE,
    member    text NOT NULL,
    verdicts  text[] NOT NULL,
    contacts  text NOT NULL,
    PRIMARY KEY (review, member)
);

-- The last mandate of an account, or its end, and how far the members are. `account.mandatory` says
-- what holds; this is only the work that follows from it.
CREATE TABLE mandate (
    account     text PRIMARY KEY REFERENCES account,
    id          uuid NOT NULL,
    mandatory   boolean NOT NULL,
    actor       text NOT NULL,
    batch       integer NOT NULL DEFAULT 0,
    reached     text NOT NULL DEFAULT '',
    changed     bigint NOT NULL DEFAULT 0,
    decided_at  timestamptz NOT NULL,
    done_at     timestamptz
);
CREATE INDEX mandate_id ON mandate (id);

-- A factor reset by support: asked for by one, approved by another, carried out after a hold.
CREATE TABLE reset (
    id            uuid PRIMARY KEY,
    account       text NOT NULL,
    member        text NOT NULL,
    reason        text NOT NULL,
    requested_by  text NOT NULL,
    requested_at  timestamptz NOT NULL,
    approved_by   text CHECK (approved_by <> requested_by),
    due_at        timestamptz,
    state         text NOT NULL CHECK (state IN ('requested', 'approved', 'done', 'cancelled')),
    cancelled_by  text,
    ended_at      timestamptz,
    FOREIGN KEY (account, member) REFERENCES member,
    CHECK ((state IN ('done', 'cancelled')) = (ended_at IS NOT NULL)),
    CHECK ((approved_by IS NULL) = (due_at IS NULL))
);
-- One at a time for each member.
CREATE UNIQUE INDEX reset_open ON reset (account, member) WHERE ended_at IS NULL;
CREATE INDEX reset_due_at ON reset (due_at) WHERE due_at IS NOT NULL;

ALTER TABLE notice ADD COLUMN to_before boolean NOT NULL DEFAULT false;
ALTER TABLE notice DROP CONSTRAINT notice_kind_check, ADD CONSTRAINT notice_kind_check
    CHECK (kind IN ('number_changed', 'own_number_changed', 'own_number_owned', 'email_proof',
        'own_factor_enabled', 'own_factor_disabled', 'own_reset_approved', 'own_reset_done',
        'reset_approved', 'reset_done'));
