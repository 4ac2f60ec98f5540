variable "name" {
  description = "First part of the names of everything but the bucket: <name>-alerts, <name>-inbox, <name>-training, …"
  type        = string
  default     = "fuseline"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.name))
    error_message = "name must have 1 to 40 small letters, digits and hyphens, a letter first: roles and queues carry it."
  }
}

variable "region" {
  description = "Region of everything, e.g. eu-central-1."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must look like eu-central-1."
  }
}

variable "endpoint" {
  description = "Address of an emulator that answers for all services, e.g. http://localhost:4566. Empty for AWS itself."
  type        = string
  default     = ""

  validation {
    condition     = var.endpoint == "" || can(regex("^https?://[^/]+/?$", var.endpoint))
    error_message = "endpoint must look like http://localhost:4566, or be empty for AWS itself."
  }
}

variable "tags" {
  description = "Tags that everything carries, e.g. { team = \"pricing\" }."
  type        = map(string)
  default     = {}
}

# ── the store ────────────────────────────────────────────────────────────────────────────────────

variable "bucket" {
  description = "Name of the bucket that is the store. On AWS it must be one that nobody else in the world has."
  type        = string
  default     = "fuseline"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must have 3 to 63 small letters, digits and hyphens. No dots: they break TLS."
  }

  validation {
    condition     = var.endpoint != "" || var.bucket != "fuseline"
    error_message = "bucket must be a name of your own, e.g. acme-fuseline: on AWS no two buckets share a name. (Or set endpoint, to apply to an emulator.)"
  }
}

variable "projects" {
  description = "The projects that the store holds, by the names of their folders in projects/."
  type        = list(string)
  default     = ["bookings"]

  validation {
    condition     = length(var.projects) > 0 && length(distinct(var.projects)) == length(var.projects)
    error_message = "projects must name at least one project, and none twice."
  }

  validation {
    condition     = alltrue([for project in var.projects : can(regex("^[a-z][a-z0-9_-]*$", project))])
    error_message = "Each of projects must be the name of a folder in projects/: small letters, digits, - and _, a letter first."
  }

  validation {
    condition     = length(setintersection(var.projects, ["inbox", "labels", "metaflow"])) == 0
    error_message = "inbox, labels and metaflow are folders of the store itself: give that project another name."
  }

  validation { # a project has 11 places in the policy for inference, each with the names of bucket and project
    condition     = sum(concat([0], [for project in var.projects : 11 * length("${var.bucket}${project}") + 292])) <= 8000
    error_message = "projects must be fewer, about 15: an IAM role takes a policy of 10,240 characters. Give the others a store of their own."
  }
}

variable "keep_batches_days" {
  description = "Days after which the kept copy of a batch, its staged files and the quarantine go; 0 keeps them. Training reads each published batch that has labels, and feedback those that labels may belong to; both stop where one is gone."
  type        = number
  default     = 365

  validation {
    condition     = var.keep_batches_days >= 0 && floor(var.keep_batches_days) == var.keep_batches_days
    error_message = "keep_batches_days must be a whole number of days, or 0 to keep batches for ever."
  }
}

variable "keep_runs_days" {
  description = "Days after which what Metaflow recorded of a run goes; 0 keeps it. Equal data of several runs is stored once, so a younger run may lose a part with an older one; the line itself never reads it again."
  type        = number
  default     = 30

  validation {
    condition     = var.keep_runs_days >= 0 && floor(var.keep_runs_days) == var.keep_runs_days
    error_message = "keep_runs_days must be a whole number of days, or 0 to keep runs for ever."
  }
}

variable "keep_versions_days" {
  description = "Days for which an object that was overwritten, deleted or expired can still be restored from the bucket's versions."
  type        = number
  default     = 90

  validation {
    condition     = var.keep_versions_days >= 1 && floor(var.keep_versions_days) == var.keep_versions_days
    error_message = "keep_versions_days must be a whole number of days, 1 or more."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` may delete a bucket that holds objects, with all their versions: for rehearsals only."
  type        = bool
  default     = false
}

# ── people and programs ──────────────────────────────────────────────────────────────────────────

variable "alert_emails" {
  description = "Addresses that get each alert by mail. AWS asks each of them to confirm first."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "Each of alert_emails must be an address like alerts@example.com."
  }
}

variable "runner_services" {
  description = "AWS services that may run under the roles for training and inference."
  type        = list(string)
  default     = ["ecs-tasks.amazonaws.com", "batch.amazonaws.com", "lambda.amazonaws.com"]

  validation {
    condition     = length(var.runner_services) > 0
    error_message = "runner_services must name at least one service, e.g. ecs-tasks.amazonaws.com."
  }
}

variable "runner_principals" {
  description = "ARNs of users and roles that may take the roles for training and inference besides, e.g. the machine of the schedule."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.runner_principals : startswith(arn, "arn:")])
    error_message = "Each of runner_principals must be an ARN, e.g. arn:aws:iam::123456789012:role/scheduler."
  }
}

variable "reader_principals" {
  description = "ARNs of users, roles and accounts that may take the role for readers. Empty for this account, which then decides by its own policies."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.reader_principals : startswith(arn, "arn:")])
    error_message = "Each of reader_principals must be an ARN, e.g. arn:aws:iam::123456789012:role/analyst."
  }
}
