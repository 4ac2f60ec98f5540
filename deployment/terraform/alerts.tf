# Alerts: a topic that Fuseline publishes to, a queue that programs read, and mail for people.

locals {
  topic_arn        = "arn:${local.partition}:sns:${var.region}:${local.account}:${var.name}-alerts"
  alerts_queue_arn = "arn:${local.partition}:sqs:${var.region}:${local.account}:${var.name}-alerts"
}

resource "aws_sns_topic" "alerts" {
  name              = "${var.name}-alerts"
  kms_master_key_id = aws_kms_key.store.arn
}

# Policies of queues stand in the queue itself: as resources of their own each would take its half minute of waiting.
resource "aws_sqs_queue" "alerts" {
  name                      = "${var.name}-alerts"
  kms_master_key_id         = aws_kms_key.store.arn
  message_retention_seconds = 14 * 24 * 3600 # the longest that there is
  policy                    = data.aws_iam_policy_document.alerts_queue.json
}

data "aws_iam_policy_document" "alerts_queue" {
  statement {
    sid       = "OnlyTheTopic"
    actions   = ["sqs:SendMessage"]
    resources = [local.alerts_queue_arn]

    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.topic_arn]
    }
  }
}

resource "aws_sns_topic_subscription" "alerts_queue" {
  topic_arn            = aws_sns_topic.alerts.arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.alerts.arn
  raw_message_delivery = false # the subject and the time come along
}

resource "aws_sns_topic_subscription" "mail" {
  for_each  = toset(var.alert_emails)
  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.value
}
