output "store" {
  description = "What FUSELINE_STORE has to be."
  value       = "s3://${aws_s3_bucket.store.id}"
}

output "topic_arn" {
  description = "Where Fuseline publishes alerts."
  value       = aws_sns_topic.alerts.arn
}

output "alerts_queue_url" {
  description = "Where programs read alerts."
  value       = aws_sqs_queue.alerts.url
}

output "inbox_queue_url" {
  description = "Where `fuseline watch` takes the events of the inbox from."
  value       = aws_sqs_queue.inbox.url
}

output "inbox_queue_arn" {
  description = "The same queue as the event source of a Lambda function."
  value       = aws_sqs_queue.inbox.arn
}

output "training_role_arn" {
  description = "The role for TrainingFlow."
  value       = aws_iam_role.training.arn
}

output "inference_role_arn" {
  description = "The role for InferenceFlow, FeedbackFlow, `fuseline watch` and the Lambda function."
  value       = aws_iam_role.inference.arn
}

output "readers_role_arn" {
  description = "The role for consumers of predictions."
  value       = aws_iam_role.readers.arn
}

output "key_arn" {
  description = "The key that encrypts the store, the topic and the queues."
  value       = aws_kms_key.store.arn
}
