"""Messages of an MQTT broker, acknowledged once they are stored."""
