# Three roles, each with what src/fuseline really does in its name and nothing else. None of them may delete an old
# version of an object, so whatever a run does can be taken back.

locals {
  # Folder of a project to the ARNs of what is in it, over all projects.
  files = {
    for folder in ["batches", "feedback", "ledger", "predictions", "reports", "sources", "versions"] :
    folder => [for project in var.projects : "${local.bucket_arn}/${project}/${folder}/*"]
  }
  whole  = [for project in var.projects : "${local.bucket_arn}/${project}/*"]
  inbox  = [for project in var.projects : "${local.bucket_arn}/inbox/${project}/*"]
  labels = [for project in var.projects : "${local.bucket_arn}/labels/${project}/*"]
  runs   = ["${local.bucket_arn}/metaflow/*"]
  probes = ["${local.bucket_arn}/.probe/*"]

  write = ["s3:PutObject", "s3:AbortMultipartUpload"]
}

# ── training ─────────────────────────────────────────────────────────────────────────────────────

resource "aws_iam_role" "training" {
  name               = "${var.name}-training"
  description        = "Trains versions and promotes or holds them"
  assume_role_policy = data.aws_iam_policy_document.runners.json
}

resource "aws_iam_role_policy" "training" {
  name   = "store"
  role   = aws_iam_role.training.id
  policy = data.aws_iam_policy_document.training.minified_json
}

data "aws_iam_policy_document" "training" {
  source_policy_documents = [data.aws_iam_policy_document.running.json]

  # A version with its artifacts, the kept copies of joined sources, the entries that register it and promote or hold
  # it, and the pages. It touches no batch, and nothing that consumers read.
  statement {
    sid       = "Write"
    actions   = local.write
    resources = concat(local.files.versions, local.files.sources, local.files.ledger, local.files.reports)
  }

  # The first training of a store, and `fuseline doctor`, try what it can do with keys that they remove again.
  statement {
    sid       = "Probe"
    actions   = ["s3:DeleteObject"]
    resources = local.probes
  }
}

# ── inference (and feedback) ─────────────────────────────────────────────────────────────────────

resource "aws_iam_role" "inference" {
  name               = "${var.name}-inference"
  description        = "Scores batches, publishes them or holds them back, and reads labels"
  assume_role_policy = data.aws_iam_policy_document.runners.json
}

resource "aws_iam_role_policy" "inference" {
  name   = "store"
  role   = aws_iam_role.inference.id
  policy = data.aws_iam_policy_document.inference.minified_json
}

data "aws_iam_policy_document" "inference" {
  source_policy_documents = [data.aws_iam_policy_document.running.json]

  statement {
    sid       = "ReadArrivals"
    actions   = ["s3:GetObject"]
    resources = concat(local.inbox, local.labels)
  }

  # Kept copies and staged files, entries, published files, joins of labels, kept copies of joined sources, pages.
  # No version: what scores is what training registered.
  statement {
    sid     = "Write"
    actions = local.write
    resources = concat(
      local.files.batches, local.files.ledger, local.files.predictions,
      local.files.feedback, local.files.sources, local.files.reports,
    )
  }

  # A batch leaves the inbox once an entry says what became of it; a withdrawn one leaves the predictions. Nothing else
  # is ever deleted: no entry of the ledger, no batch, no version, no label.
  statement {
    sid       = "Delete"
    actions   = ["s3:DeleteObject"]
    resources = concat(local.inbox, local.files.predictions, local.probes)
  }

  # `fuseline watch`: a message is deleted once its batch is settled; a long run keeps it from coming again.
  statement {
    sid       = "TakeEvents"
    resources = [local.inbox_queue_arn]

    actions = [
      "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
      "sqs:GetQueueAttributes", # Lambda looks at the queue before it takes from it
    ]
  }

  # The Lambda function that does the same job would be silent otherwise.
  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/lambda/${var.name}-*"]
  }
}

# ── what both of them do ─────────────────────────────────────────────────────────────────────────

data "aws_iam_policy_document" "running" {
  # Any file of the projects: both read the ledger and the versions, training the batches, inference what it staged.
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = concat(local.whole, local.runs, local.probes)
  }

  # Not narrowed to folders: the end of the ledger is found by asking for an entry that is not there yet, and S3 says
  # 404 only to those who may list the bucket. To others it says 403, which would stop every run.
  # The other two are what `fuseline doctor` tells of the bucket.
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket", "s3:GetBucketVersioning", "s3:GetEncryptionConfiguration"]
    resources = [local.bucket_arn]
  }

  # Metaflow's records of the run itself, and the probe.
  statement {
    sid       = "WriteRun"
    actions   = local.write
    resources = concat(local.runs, local.probes)
  }

  # Both raise alerts: a trip, a recovery, a hold at the gate, a failed flow.
  statement {
    sid       = "Alert"
    actions   = ["sns:Publish"]
    resources = [local.topic_arn]
  }

  # The key of all this, through the services that use it and in no other way.
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.store.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [for service in ["s3", "sns", "sqs"] : "${service}.${var.region}.${data.aws_partition.this.dns_suffix}"]
    }
  }
}

data "aws_iam_policy_document" "runners" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = var.runner_services
    }
  }

  dynamic "statement" {
    for_each = length(var.runner_principals) > 0 ? [var.runner_principals] : []
    content {
      actions = ["sts:AssumeRole"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }
}

# ── readers ──────────────────────────────────────────────────────────────────────────────────────

resource "aws_iam_role" "readers" {
  name               = "${var.name}-readers"
  description        = "Reads published predictions and the pages"
  assume_role_policy = data.aws_iam_policy_document.reader_trust.json
}

resource "aws_iam_role_policy" "readers" {
  name   = "store"
  role   = aws_iam_role.readers.id
  policy = data.aws_iam_policy_document.readers.minified_json
}

data "aws_iam_policy_document" "readers" {
  # What was published and the pages: no batch, no quarantine, no version, no entry.
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = concat(local.files.predictions, local.files.reports)
  }

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = flatten([for project in var.projects : ["${project}/predictions/*", "${project}/reports/*"]])
    }
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.store.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.${data.aws_partition.this.dns_suffix}"]
    }
  }
}

data "aws_iam_policy_document" "reader_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = length(var.reader_principals) > 0 ? var.reader_principals : [local.this_account]
    }
  }
}
