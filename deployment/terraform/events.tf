# Events: each object that lands in the inbox puts a message into a queue.

locals {
  inbox_queue_arn = "arn:${local.partition}:sqs:${var.region}:${local.account}:${var.name}-inbox"
}

# What could not be dealt with five times waits here for a person.
resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-inbox-dead"
  kms_master_key_id         = aws_kms_key.store.arn
  message_retention_seconds = 14 * 24 * 3600
}

resource "aws_sqs_queue" "inbox" {
  name                       = "${var.name}-inbox"
  kms_master_key_id          = aws_kms_key.store.arn
  message_retention_seconds  = 14 * 24 * 3600
  visibility_timeout_seconds = 900 # a run is over by then; else the message comes again
  policy                     = data.aws_iam_policy_document.inbox_queue.json

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 5
  })

  lifecycle {
    ignore_changes = [redrive_policy] # moto returns it with other white space, which every plan would call a change
  }
}

data "aws_iam_policy_document" "inbox_queue" {
  statement {
    sid       = "OnlyTheBucket"
    actions   = ["sqs:SendMessage"]
    resources = [local.inbox_queue_arn]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.bucket_arn]
    }

    # The name of a bucket does not say whose it is: it could be deleted here and made again elsewhere.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_s3_bucket_notification" "inbox" {
  bucket = aws_s3_bucket.store.id

  queue {
    id            = "inbox"
    queue_arn     = aws_sqs_queue.inbox.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "inbox/"
  }
}
