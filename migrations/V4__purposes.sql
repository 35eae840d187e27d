-- Challenges for more than logins: a member's own factor, and sensitive settings.

ALTER TABLE account
    ADD COLUMN sensitive_settings text[] NOT NULL
        DEFAULT ARRAY['bank_account', 'instant_payouts', 'statement_descriptor'],
    ADD COLUMN require_for_sensitive_settings boolean NOT NULL DEFAULT false,
    ADD COLUMN mandatory boolean NOT NULL DEFAULT false;

-- Since when the member's number is known to belong to a company.
ALTER TABLE member ADD COLUMN phone_owned_at timestamptz;

-- What exactly is approved (a digest, empty where the purpose says it all), which setting, and,
-- sealed, the number to bind or the summary of the change.
ALTER TABLE challenge
    ADD COLUMN operation bytea NOT NULL DEFAULT '',
    ADD COLUMN setting text,
    ADD COLUMN detail_sealed bytea,
    DROP CONSTRAINT challenge_purpose_check,
    ADD CONSTRAINT challenge_purpose_check CHECK (purpose IN ('login', 'enrolment',
        'number_change_current', 'number_change_new', 'disable', 'setting')),
    ADD CONSTRAINT challenge_setting_check CHECK ((purpose = 'setting') = (setting IS NOT NULL)),
    ADD CONSTRAINT challenge_detail_check CHECK (state = 'open' OR detail_sealed IS NULL),
    -- Where the phone itself is proved, email is no backup.
    ADD CONSTRAINT challenge_email_check
        CHECK (email_index IS NULL OR purpose IN ('login', 'setting'));

-- What is pending is named within its purpose, so that no name an app gives a login can meet one
-- of ours.
ALTER TABLE login
    ADD COLUMN purpose text NOT NULL DEFAULT 'login',
    DROP CONSTRAINT login_pkey,
    ADD PRIMARY KEY (account, member, purpose, login);

-- Approved changes of settings: each is carried out once at most, or never.
CREATE TABLE approval (
    challenge    uuid PRIMARY KEY,
    account      text NOT NULL,
    member       text NOT NULL,
    setting      text NOT NULL,
    change       text NOT NULL,
    operation    bytea NOT NULL,
    approved_at  timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    spent_at     timestamptz,
    stale        boolean,
    CHECK ((spent_at IS NULL) = (stale IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX approval_expires_at ON approval (expires_at);

-- The challenge that proved a change.
ALTER TABLE activity ADD COLUMN challenge uuid;

-- Numbers that belong to companies, whosesoever: no code goes there.
CREATE TABLE owned_number (
    account       text NOT NULL REFERENCES account,
    number_index  bytea NOT NULL,
    PRIMARY KEY (account, number_index)
);
CREATE INDEX owned_number_index ON owned_number (number_index);
ALTER TABLE account ADD COLUMN owned_numbers_version bigint NOT NULL DEFAULT 0;
-- Whose number becomes a company's is looked up across all accounts.
CREATE INDEX member_phone_index ON member (phone_index) WHERE phone_index IS NOT NULL;

CREATE INDEX challenge_to_bind ON challenge (phone_index)
    WHERE purpose IN ('enrolment', 'number_change_new');

-- The proof of an address: a thing of its own, never a challenge. One for each member.
CREATE TABLE email_proof (
    account      text NOT NULL,
    member       text NOT NULL,
    id           uuid NOT NULL,
    email_index  bytea NOT NULL,
    code_kid     text NOT NULL,
    code_mac     bytea NOT NULL,
    code_sealed  bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    wrong        smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (account, member)
) WITH (fillfactor = 70);
CREATE INDEX email_proof_expires_at ON email_proof (expires_at);

-- Mails of other kinds than "a member's number was changed", to others than admins: `admin` is
-- who gets it.
ALTER TABLE notice
    ADD COLUMN kind text NOT NULL DEFAULT 'number_changed' CHECK (kind IN ('number_changed',
        'own_number_changed', 'own_number_owned', 'email_proof'));
