//! The approval of a change of a sensitive setting: what the app carries the change out by.
//!
//! It is a JWT (RFC 7519) signed with Ed25519 (`EdDSA`, RFC 8037), so that any JWT library reads
//! it with the key that `stepup keys approval` prints. It lives for two minutes by default. It is
//! good once: its `jti` is the challenge, and `settings.change.redeem` grants each only once.

use serde_json::json;

use super::Timestamp;
use super::challenge::{Challenge, Purpose};
use super::id::{AccountId, AppName, ChallengeId, LoginId, MemberId, SettingName};
use super::keys::{Keyring, base64};
use super::policy::Policy;

/// An approved change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The challenge that approved it.
    pub challenge: ChallengeId,
    /// The app that may carry it out.
    pub app: AppName,
    /// The account.
    pub account: AccountId,
    /// Who approved it.
    pub member: MemberId,
    /// Which setting.
    pub setting: SettingName,
    /// The app's name of the change.
    pub change: LoginId,
    /// The digest of the change, as the code was bound to it.
    pub operation: Operation,
    /// How it was proved (RFC 8176).
    pub amr: Vec<&'static str>,
    /// When it was approved.
    pub approved_at: Timestamp,
    /// Until when it may be carried out.
    pub expires_at: Timestamp,
}

/// What a change of a setting is, as keyed digests: guessing a value from them needs the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Of the value before.
    before: [u8; 32],
    /// Of setting, values before and after, and summary.
    whole: [u8; 32],
}

impl Operation {
    /// The digests of a change of `setting` of `account`.
    pub fn of(
        account: &AccountId,
        setting: &SettingName,
        [before, after, summary]: [&str; 3],
        keys: &Keyring,
    ) -> Self {
        let names = [account.as_str().as_bytes(), setting.as_str().as_bytes()];
        let whole = [names[0], names[1], before.as_bytes(), after.as_bytes(), summary.as_bytes()];
        Self {
            before: Self::value(account, setting, before, keys),
            whole: keys.fingerprint("stepup/setting/v1", &whole),
        }
    }

    fn value(account: &AccountId, setting: &SettingName, value: &str, keys: &Keyring) -> [u8; 32] {
        let fields = [account.as_str(), setting.as_str(), value].map(str::as_bytes);
        keys.fingerprint("stepup/setting-value/v1", &fields)
    }

    /// Whether the setting still is what it was when the change was asked for.
    pub fn begins_at(
        &self,
        account: &AccountId,
        setting: &SettingName,
        now: &str,
        keys: &Keyring,
    ) -> bool {
        self.before == Self::value(account, setting, now, keys)
    }

    /// As it is stored.
    pub fn bytes(&self) -> Vec<u8> {
        [self.before, self.whole].concat()
    }

    /// Reads what [`Self::bytes`] has written.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (before, whole) = bytes.split_at_checked(32)?;
        Some(Self { before: before.try_into().ok()?, whole: whole.try_into().ok()? })
    }

    /// The change that `challenge` is for; `None` for a challenge of another purpose.
    pub fn of_challenge(challenge: &Challenge) -> Option<Self> {
        (challenge.purpose == Purpose::Setting).then(|| Self::parse(&challenge.operation)).flatten()
    }

    /// What the app knows it by.
    pub fn label(&self) -> String {
        base64::encode_url(&self.whole)
    }
}

impl Approval {
    /// The approval that the right code for `challenge` brings about; `None` for other purposes.
    pub fn of(
        challenge: &Challenge,
        app: &AppName,
        amr: &[&'static str],
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Self> {
        let operation = Operation::of_challenge(challenge)?;
        Some(Self {
            challenge: challenge.id,
            app: app.clone(),
            account: challenge.account.clone(),
            member: challenge.member.clone(),
            setting: challenge.setting.clone()?,
            change: challenge.login.clone(),
            operation,
            amr: amr.to_vec(),
            approved_at: now,
            expires_at: now + policy.approval_life,
        })
    }

    /// The JWT.
    pub fn signed(&self, keys: &Keyring) -> String {
        let claims = json!({
            "iss": "stepup",
            "aud": self.app,
            "jti": self.challenge,
            "sub": self.member,
            "account": self.account,
            "setting": self.setting,
            "change": self.change,
            "operation": self.operation.label(),
            "amr": self.amr,
            "iat": self.approved_at.unix_timestamp(),
            "exp": self.expires_at.unix_timestamp(),
        });
        keys.sign(&claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    // Another library than the one that signs.
    use ring::signature::{ED25519, UnparsedPublicKey};

    fn operation(before: &str, after: &str) -> Operation {
        let (account, setting) =
            (AccountId::parse("acme").unwrap(), SettingName::parse("bank_account").unwrap());
        Operation::of(&account, &setting, [before, after, "to 6789"], &Keyring::for_tests())
    }

    fn approval() -> Approval {
        let now = time::macros::datetime!(2026-01-01 12:00:00 UTC);
        Approval {
            challenge: ChallengeId(uuid::Uuid::from_u128(1)),
            app: AppName::parse("crm").unwrap(),
            account: AccountId::parse("acme").unwrap(),
            member: MemberId::parse("ada").unwrap(),
            setting: SettingName::parse("bank_account").unwrap(),
            change: LoginId::parse("change-1").unwrap(),
            operation: operation("1", "2"),
            amr: vec!["otp", "sms"],
            approved_at: now,
            expires_at: now + time::Duration::seconds(120),
        }
    }

    #[test]
    fn r58_an_operation_is_its_values_and_reads_back() {
        assert_eq!(operation("1", "2"), operation("1", "2"));
        assert_ne!(operation("1", "2"), operation("1", "3"));
        assert_ne!(operation("12", "3"), operation("1", "23"));
        let written = operation("1", "2").bytes();
        assert_eq!(Operation::parse(&written), Some(operation("1", "2")));
        assert_eq!(Operation::parse(b"short"), None);
    }

    #[test]
    fn r58_an_approval_is_verified_with_the_public_half_alone_and_no_flipped_bit_passes() {
        let keys = Keyring::for_tests();
        let token = approval().signed(&keys);
        let jwks = keys.approval_keys();
        let x = jwks["keys"][0]["x"].as_str().unwrap();
        let public = base64::decode_url(x).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = base64::decode_url(signature).unwrap();
        let verify =
            |message: &[u8]| UnparsedPublicKey::new(&ED25519, &public).verify(message, &signature);
        verify(signed.as_bytes()).unwrap();
        for at in 0..signed.len() {
            let mut broken = signed.as_bytes().to_vec();
            broken[at] ^= 1;
            assert!(verify(&broken).is_err());
        }
        let (_, claims) = signed.split_once('.').unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&base64::decode_url(claims).unwrap()).unwrap();
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
        assert_eq!(claims["jti"], json!(uuid::Uuid::from_u128(1)));
    }
}
