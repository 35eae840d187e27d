//! The names of the queues.

use crate::domain::string_enum::string_enum;

string_enum! {
    /// A queue with a worker: `<worker>.<lane>`. A lane keeps logins from waiting behind bulk.
    Queue {
        /// Logins: issue, resend, cancel.
        CodeGenerationLogin = "code_generation.login",
        /// Ends of challenges.
        CodeGenerationBulk = "code_generation.bulk",
        /// Guesses.
        VerificationLogin = "verification.login",
        /// Accounts and members.
        DirectorySettings = "directory.settings",
        /// What members ask to change.
        SettingsSettings = "settings.settings",
        /// What admins ask for their team.
        TeamSettings = "team.settings",
        /// The next members of a review or a mandate.
        TeamBatchBulk = "team_batch.bulk",
        /// Resets of lost factors.
        SupportSettings = "support.settings",
        /// Codes by SMS.
        SmsDeliveryLogin = "sms_delivery.login",
        /// Codes by email.
        EmailFallbackLogin = "email_fallback.login",
        /// Notices by email.
        NoticeDeliveryNotices = "notice_delivery.notices",
        /// Every event.
        AuditBulk = "audit.bulk",
        /// Events that cause notices.
        NotificationNotices = "notification.notices",
        /// Requests with a key that no queue is bound for. A worker dead-letters them with a reason,
        /// which the broker itself could not give.
        UnroutableBulk = "unroutable.bulk",
    }
}
