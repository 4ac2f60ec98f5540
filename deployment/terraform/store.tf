# The store: one bucket and the key that encrypts it.

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition

  this_account = "arn:${local.partition}:iam::${local.account}:root"

  # Written out, because a policy and the thing it speaks of would wait for each other.
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket}"
}

# ── the key ──────────────────────────────────────────────────────────────────────────────────────

resource "aws_kms_key" "store" {
  description             = "The store, the topic and the queues of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.force_destroy ? 7 : 30
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "store" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.store.key_id
}

data "aws_iam_policy_document" "key" {
  # Without this nobody could ever change the key again. It lets IAM decide, as for everything else in the account.
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = [local.this_account]
    }
  }

  # S3 puts the bucket's events into an encrypted queue, and SNS the alerts: the key serves them for these two queues,
  # and the policy of each queue says from whom it takes messages.
  statement {
    sid       = "EventsAndAlerts"
    actions   = ["kms:GenerateDataKey*", "kms:Decrypt"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com", "sns.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "kms:EncryptionContext:aws:sqs:arn"
      values   = [local.inbox_queue_arn, local.alerts_queue_arn]
    }
  }
}

# ── the bucket ───────────────────────────────────────────────────────────────────────────────────

resource "aws_s3_bucket" "store" {
  bucket        = var.bucket
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket                  = aws_s3_bucket.store.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "store" {
  bucket = aws_s3_bucket.store.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    bucket_key_enabled = true # one call of KMS for many objects, not one for each

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.store.arn
    }
  }
}

# Ledger, versions and predictions are in no rule: they never expire.
resource "aws_s3_bucket_lifecycle_configuration" "store" {
  bucket     = aws_s3_bucket.store.id
  depends_on = [aws_s3_bucket_versioning.store] # or the rules on old versions would mean nothing

  dynamic "rule" {
    for_each = var.keep_batches_days > 0 ? var.projects : []
    content {
      id     = "batches-${rule.value}"
      status = "Enabled"

      filter {
        prefix = "${rule.value}/batches/"
      }

      expiration {
        days = var.keep_batches_days
      }
    }
  }

  # What nobody restores: it goes for good a day after it expired.
  dynamic "rule" {
    for_each = merge(
      var.keep_runs_days > 0 ? { runs = ["metaflow/", var.keep_runs_days] } : {},
      { probes = [".probe/", 1], unfinished = [".tmp/", 1] },
    )
    content {
      id     = rule.key
      status = "Enabled"

      filter {
        prefix = rule.value[0]
      }

      expiration {
        days = rule.value[1]
      }

      noncurrent_version_expiration {
        noncurrent_days = 1
      }
    }
  }

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.keep_versions_days
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

# ── who may not, whatever other policies say ─────────────────────────────────────────────────────

resource "aws_s3_bucket_policy" "store" {
  count      = local.emulated ? 0 : 1 # an emulator speaks plain HTTP
  bucket     = aws_s3_bucket.store.id
  policy     = data.aws_iam_policy_document.bucket.json
  depends_on = [aws_s3_bucket_public_access_block.store] # S3 refuses to change both at once
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "OnlyTLS"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arn, "${local.bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # An entry of the ledger is written once. Fuseline creates it with If-None-Match; here S3 refuses all who do not.
  # The name of an entry is a number of eight digits; the checkpoint beside them is overwritten now and then.
  statement {
    sid       = "EntriesAreCreatedOnly"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = ["${local.bucket_arn}/*/ledger/????????.json"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Null"
      variable = "s3:if-none-match"
      values   = ["true"]
    }

    condition { # the parts of an upload cannot carry the header; its end can, and must
      test     = "Bool"
      variable = "s3:ObjectCreationOperation"
      values   = ["true"]
    }
  }

  statement {
    sid       = "EntriesAreKept"
    effect    = "Deny"
    actions   = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
    resources = ["${local.bucket_arn}/*/ledger/????????.json"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}
